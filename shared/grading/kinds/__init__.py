"""One module for each kind of answer: it reads an answer of that kind."""
