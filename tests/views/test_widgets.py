"""What the explorer's own widgets do without a browser: tags, the picture's click, what is said of files."""

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:Widget:DeprecationWarning")


@pytest.fixture
def made():
    """Tags of whole numbers, the lists they told, and the errors."""
    from clipdiy_lab.views.explorer.tags import Tags

    told, errors = [], []
    return Tags([256, 64], told.append, errors.append, int), told, errors


def buttons(tags):
    return tags.root.children[0].children


def test_what_is_typed_is_added_once_and_the_field_is_empty_again(made):
    tags, told, errors = made
    for text in (" 32 ", "32", "64", "  "):
        tags.field.value = text
        assert tags.field.value.strip() == ""
    assert told == [[256, 64, 32]]
    assert [one.description for one in buttons(tags)] == ["256", "64", "32"]
    assert errors == []


def test_a_text_that_cannot_be_read_changes_nothing_and_is_told(made):
    tags, told, errors = made
    tags.field.value = "wide"
    assert isinstance(errors[0], ValueError)
    assert (tags.value, told) == ([256, 64], [])


def test_a_click_takes_out_one_and_the_other_button_stays(made):
    tags, told, _ = made
    first, second = buttons(tags)
    first.click()
    assert told == [[64]]
    assert buttons(tags) == (second,)


def test_a_list_set_from_python_is_shown_and_not_told(made):
    tags, told, _ = made
    kept = buttons(tags)[1]
    tags.value = [64, 128]
    assert [one.description for one in buttons(tags)] == ["64", "128"]
    assert buttons(tags)[0] is kept
    assert told == []


def test_a_click_in_the_page_names_its_pixel():
    from clipdiy_lab.views.explorer.picture import PictureWidget

    picture, heard = PictureWidget(size=(192, 256)), []
    picture.on_click(lambda row, column: heard.append((row, column)))
    picture._handle_custom_msg({"pixel": [191, 3]}, [])
    picture._handle_custom_msg({"other": 1}, [])
    assert heard == [(191, 3)]
    picture.close()


def test_what_became_of_a_file_is_still_said_after_the_next_picture(tiny, tmp_path, monkeypatch):
    import clipdiy_lab as lab

    monkeypatch.chdir(tmp_path)
    explorer = lab.explore(None, ["cat", "car"], tiny)
    view = explorer.widget
    view._do(lambda: explorer.save("view.json"), "saved to")
    explorer.change(saliency_weight=0.4)
    assert explorer.scheduler.wait(60)
    assert "saved to view.json" in view.filed.value
    view._do(lambda: explorer.export("view.gif"), "exported to")
    assert view.filed.value == ""
    assert "ends in" in explorer.error
    explorer.close()


@pytest.mark.parametrize("end", [SystemExit(1), KeyboardInterrupt(), RuntimeError("broken")])
def test_what_a_callback_raises_is_said_and_never_leaves_it(tiny, monkeypatch, end):
    import clipdiy_lab as lab

    explorer = lab.explore(None, ["cat", "car"], tiny)
    view = explorer.widget
    assert explorer.scheduler.wait(60)

    def leave(*_, **__):
        raise end

    for name in ("change", "save", "code", "apply", "cancel", "open"):
        monkeypatch.setattr(explorer, name, leave)
    for act in (
        lambda: setattr(view.opacity, "value", 0.15),
        lambda: view._do(lambda: explorer.save("x"), "saved to"),
        lambda: setattr(view.path, "value", "nowhere.png"),
        lambda: view.picture._handle_custom_msg({"pixel": [3, 4]}, []),
        *(button.click for button in buttons_of(view.root)),
    ):
        explorer.error = ""
        act()
        assert type(end).__name__ in explorer.error
    monkeypatch.undo()
    explorer.close()


def buttons_of(root):
    """Buttons that ask the explorer for something else than a label or a file."""
    from clipdiy_lab.views.live.widgets import everything

    wanted = {"Encode now", "Cancel", "Save state", "Show the code"}
    return [one for one in everything(root) if getattr(one, "description", None) in wanted and hasattr(one, "click")]
