"""Graphs of modules, under the name that magenta/ddsp gives them; they live in `fastddsp.models.dags`."""

from fastddsp.models.dags import *
