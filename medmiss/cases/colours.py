"""The colours of the three regions, wherever they are shown."""

COLOURS = {"ET": "#ffd92f", "TC": "#e41a1c", "WT": "#4daf4a"}
"""Of enhancing tumour, of the rest of the core (necrosis) and of the rest of the whole tumour (oedema)."""
