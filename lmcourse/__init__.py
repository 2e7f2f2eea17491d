"""lmcourse: the code behind *Language Models, Formula by Formula*.

One module per topic; import the one you need. Importing the package itself loads nothing heavy.
"""

__version__ = "0.1.0"
