obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["penstock.dev/retry"] = "ordered in Argo CD"
return obj
