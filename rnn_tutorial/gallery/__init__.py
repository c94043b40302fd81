"""The gallery: four other tasks of recurrent networks, each in one file with its loop visible."""
