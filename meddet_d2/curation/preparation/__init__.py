"""From a hospital's folder, or a public release, to a data set in the layout of CDH-1848.

The scripts datasets/prepare_images.py and datasets/prepare_spider.py are made of these parts, and so, with
curation/landmarks, is datasets/prepare_landmarks.py. torch is not needed.
"""
