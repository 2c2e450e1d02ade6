"""The engine decides: what goes out next, what an answer is worth, when to try again.

Its modules know no clock, socket, thread, event loop or framework. Time comes in as
`now`, seconds on any clock that does not go back; delays go out as data. What the
engine decides, a driver in `together_embed.transports` carries out.
"""
