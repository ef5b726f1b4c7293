"""Systems whose truth is known, to learn from and to be judged by: no files, only mathematics."""
