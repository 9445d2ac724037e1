"""Engines own isolation: what a sandbox is, and how it is entered and ended.

The server owns ids, keys, lifetimes, timeouts and output limits, and knows engines by the `Engine`
protocol alone.
"""
