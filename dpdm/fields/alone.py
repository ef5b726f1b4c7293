"""HDF5 knows one thread at a time, and xarray guards only a part of what it does with it.

Who reads in one thread while another writes holds this lock around each opening, reading, laying
out, writing and closing; a crash of the process is what comes of it otherwise.
"""

from threading import RLock

HDF5 = RLock()
