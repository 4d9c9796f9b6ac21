obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["penstock.dev/promote-full"] = "ordered in Argo CD"
return obj
