"""Clustering with a fixed K, as the paper does it."""

from __future__ import annotations

import numpy as np


def kmeans_centres(values: np.ndarray, n_clusters: int) -> np.ndarray:
    """
    Replace each value by the centre of its K-means cluster.

    Parameters
    ----------
    values
        Numbers, shape (m,).
    n_clusters
        K; no more clusters are made than there are distinct values.

    Returns
    -------
    numpy.ndarray
        The centres, shape (m,).
    """
    from sklearn.cluster import KMeans

    distinct = len(np.unique(values))
    if n_clusters >= distinct:
        return np.array(values, dtype=np.float64)
    model = KMeans(n_clusters, n_init=10, random_state=0).fit(values[:, None])
    return model.cluster_centers_[model.labels_, 0]
