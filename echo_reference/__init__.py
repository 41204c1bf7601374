"""Echo, a speech recogniser whose adaptive parts are the canonical client of homeostat."""
