"""A package whose PyInstaller runtime hook changes something that user code relies on."""
