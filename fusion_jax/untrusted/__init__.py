"""Guards of readers against files that are damaged, or made to do harm.

A file may come from anywhere. What its header states is checked before memory
is taken, formats that refer to other files are refused, and no codec runs that
could run code. SECURITY.md says what is trusted and what is not.
"""
