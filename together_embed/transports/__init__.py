"""The transports carry: they send one request, and decide nothing.

What goes wrong on the way comes back as a value (`Lost`), never as an exception; a
status is as good as another. One module for each library, and one with the drivers.
"""
