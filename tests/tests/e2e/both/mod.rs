//! Scenarios that know the cluster by its kubeconfigs alone.

mod agents;
mod among_pods;
mod bad_input;
mod devices;
mod leadership;
mod people;
mod placing;
mod preempting;
mod routing;
mod topology;
mod volumes;
