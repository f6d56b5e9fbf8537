"""The pages, one file for each: a router whose routes read the run and render a template."""
