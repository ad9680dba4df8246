"""One file a channel, all behind one small interface."""
