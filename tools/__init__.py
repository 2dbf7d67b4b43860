"""One file per question that an operator asks; each is run as `python tools/NAME.py`."""
