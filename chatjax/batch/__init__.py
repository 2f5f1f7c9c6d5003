"""Files of requests, answered so that no result is lost or made twice."""
