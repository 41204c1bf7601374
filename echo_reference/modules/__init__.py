"""The blocks of Echo: plain torch modules, each one idea. They know nothing of transformers."""
