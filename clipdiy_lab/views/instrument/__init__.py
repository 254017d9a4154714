"""The instrument: a segmented image live in the browser, in a notebook or in a file, with one engine for both."""
