"""Starts the four processes under supervisord, waits until they are healthy, and takes them down again without leaving any behind."""
