"""Tests of fastddsp; the folders mirror those of the house."""
