"""Provide the step verbs that a notebook cell calls: show, check, act, confirm."""
