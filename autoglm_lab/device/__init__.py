"""Parts for a device: a look at it before anything is installed, the folder that is copied to it, and the phone in a browser."""
