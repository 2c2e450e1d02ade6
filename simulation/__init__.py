"""The real engine against modelled servers, on a clock that costs nothing.

`world` runs clients (a `Flow` and `Job`s each, as they are) on a queue of events;
`servers` are models of what stands at the other end; `regimes` are the situations that
a client has to cope with, and what would be ideal in each; `measure` turns what was
sent and answered into shares of that ideal.
"""
