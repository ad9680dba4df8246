"""Personal data, sealed: it is opened for a purpose that stands, and in no other way."""
