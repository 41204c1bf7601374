"""Echo's speed and memory beside Whisper's, each in one run; every module is a script that keeps its raw results."""
