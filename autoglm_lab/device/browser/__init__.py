"""The phone in a browser: one static page that runs a bundle by itself, also when the server is gone."""
