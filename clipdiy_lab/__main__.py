"""``python -m clipdiy_lab`` is the command line."""

from clipdiy_lab.cli import main

main()
