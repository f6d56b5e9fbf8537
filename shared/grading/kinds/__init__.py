"""One module for each kind of answer: how an answer of that kind is read."""
