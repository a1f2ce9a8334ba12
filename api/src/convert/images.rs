//! Images: what nodes have, and what a pod needs.

use k8s_openapi::api::core::v1;
use placement::cluster::Image;
use std::borrow::Cow;

/// Images of init containers, containers and image volumes, as nodes name them: without a tag it is `latest`.
pub(super) fn of_pod(spec: &v1::PodSpec) -> Vec<Image> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let of_containers = containers.map(|container| container.image.as_deref().unwrap_or_default());
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref());
    let of_volumes = volumes.map(|image| image.reference.as_deref().unwrap_or_default());
    of_containers.chain(of_volumes).map(|name| Image::named(&tagged(name))).collect()
}

/// Every name of every image on the node, with its size.
pub(super) fn of_node(status: &v1::NodeStatus) -> Vec<(Image, i64)> {
    let images = status.images.iter().flatten();
    images.flat_map(|image| image.names.iter().flatten().map(|name| (Image::named(name), image.size_bytes.unwrap_or_default()))).collect()
}

/// A colon after the last slash is a tag's; one before it is a port's.
fn tagged(name: &str) -> Cow<'_, str> {
    let tag = name.rfind(':') > name.rfind('/');
    if tag { name.into() } else { format!("{name}:latest").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_tag_is_the_latest() {
        let check = |name: &str, expected: &str| assert_eq!(tagged(name), expected);
        check("web", "web:latest");
        check("web:1", "web:1");
        check("host:5000/web", "host:5000/web:latest");
        check("host:5000/web:1", "host:5000/web:1");
        check("host/web@sha256:00", "host/web@sha256:00");
        check("", ":latest");
    }
}
