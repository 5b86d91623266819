"""What a notebook cell calls: show, check, act, confirm."""
