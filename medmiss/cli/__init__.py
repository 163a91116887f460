"""The `medmiss` command: one file a command, nothing heavy imported before it is needed."""

DEFAULT_BUNDLE = "brats_dropout"
"""What commands take where no bundle is named: the one whose weights did best on real cases (see the cards)."""
