//! Which devices a node has for the claims of a pod: a search through all that could be given, which takes the first solution. Requests are met in the
//! order of the claims, devices tried in the order of pools, slices and devices, so that the answer depends on nothing else.

use super::claim::{AllocatedConfig, AllocatedDevice, Allocation, Amount, Claim, DeviceClass, Variant};
use super::constraint::Watched;
use super::device::{Device, Reach, ResourceSlice, device_id};
use super::inventory::Inventory;
use super::pool::{Pool, PoolState, Slices};
use crate::cluster::{Node, NodeSelectorTerm, Operator, Requirement};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// Devices that a claim can have at most, as the API server has it.
const MOST_DEVICES: usize = 32;

/// Steps after which a search is given up. The search for devices under constraints takes exponential time in the worst case; this many take well under
/// a second, where kube-scheduler gives up after ten.
const MOST_STEPS: u32 = 200_000;

/// Why a node has no devices for the claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    #[error("cannot allocate all claims")]
    NoDevices,
    #[error("invalid resource pools were encountered")]
    InvalidPools,
    /// There may be a solution with a device that can't be handled.
    #[error("device {device} can't be allocated: {why}")]
    Unsupported { device: String, why: String },
    #[error("{0}")]
    Failed(String),
}

/// Claims that are to be given devices, with all devices there are.
pub struct Allocator<'a> {
    inventory: &'a Inventory,
    slices: Slices<'a>,
    claims: Vec<&'a Claim>,
}

impl<'a> Allocator<'a> {
    pub fn new(inventory: &'a Inventory, claims: Vec<&'a Claim>) -> Allocator<'a> {
        Allocator { inventory, slices: Slices::new(inventory.slices()), claims }
    }

    /// The devices of each claim on this node.
    pub fn allocate(&self, node: &Node) -> Result<Vec<Allocation>, AllocateError> {
        let pools = self.slices.pools(node, self.inventory.allocated());
        let mut search = Search {
            allocator: self,
            node,
            pools: &pools,
            wanted: Vec::new(),
            constraints: self.claims.iter().map(|claim| claim.constraints.iter().map(Watched::new).collect()).collect(),
            chosen: self.claims.iter().map(|claim| vec![0; claim.requests.len()]).collect(),
            taken: vec![Vec::new(); self.claims.len()],
            takers: FxHashMap::default(),
            unsupported: None,
            steps: 0,
        };
        search.prepare()?;
        if search.step(At::default(), Place::default())? == Found::All {
            return (0..self.claims.len()).map(|claim| search.result(claim)).collect();
        }
        Err(match search.unsupported {
            Some((device, why)) => AllocateError::Unsupported { device, why },
            None if pools.iter().any(|pool| pool.state == PoolState::Invalid) => AllocateError::InvalidPools,
            None => AllocateError::NoDevices,
        })
    }
}

/// Where in the claims the search is.
#[derive(Clone, Copy, Default)]
struct At {
    claim: usize,
    request: usize,
    /// `None`: the request has variants, and none has been chosen yet.
    variant: Option<usize>,
    /// How many devices the request has already.
    device: usize,
}

/// A device by its position: of the pool, of the slice in it, and in the slice.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Place {
    pool: usize,
    slice: usize,
    device: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    All,
    Nothing,
    /// Nothing, since the claim would have more devices than it can.
    TooMany,
}

/// How many devices a variant wants.
struct Wanted<'a> {
    class: &'a DeviceClass,
    count: usize,
    /// Which ones, where it wants all.
    all: Option<Vec<Place>>,
}

#[derive(Clone, Copy)]
struct Taken {
    place: Place,
    request: usize,
    variant: usize,
}

struct Search<'s, 'a> {
    allocator: &'s Allocator<'a>,
    node: &'s Node,
    pools: &'s [Pool<'a>],
    /// By claim, request and variant.
    wanted: Vec<Vec<Vec<Wanted<'a>>>>,
    constraints: Vec<Vec<Watched<'a>>>,
    /// The variant taken, by claim and request.
    chosen: Vec<Vec<usize>>,
    /// Devices taken so far, by claim.
    taken: Vec<Vec<Taken>>,
    /// Claims that have taken a device.
    takers: FxHashMap<Place, SmallVec<[usize; 2]>>,
    /// A device that was left out though it may be what is wanted, and why.
    unsupported: Option<(String, String)>,
    steps: u32,
}

impl<'a> Search<'_, 'a> {
    /// Finds out how many devices are wanted.
    fn prepare(&mut self) -> Result<(), AllocateError> {
        for (at, claim) in self.allocator.claims.iter().enumerate() {
            let (mut requests, mut least) = (Vec::new(), 0);
            for request in &claim.requests {
                let variants = request.variants.iter().map(|variant| self.wanted_by(claim, &request.name, variant));
                let variants: Vec<Wanted<'a>> = variants.collect::<Result<_, _>>()?;
                least += variants.iter().map(|wanted| wanted.count).min().unwrap_or(0);
                requests.push(variants);
            }
            if least > MOST_DEVICES {
                let why = format!("claim {}: number of requested devices {least} exceeds the claim limit of {MOST_DEVICES}", claim.key);
                return Err(AllocateError::Failed(why));
            }
            self.taken[at].reserve(least);
            self.wanted.push(requests);
        }
        Ok(())
    }

    fn wanted_by(&self, claim: &'a Claim, request: &str, variant: &'a Variant) -> Result<Wanted<'a>, AllocateError> {
        let failed = |why: String| AllocateError::Failed(format!("claim {}, request {request}: {why}", claim.key));
        let class = self.allocator.inventory.class(&variant.class);
        let class = class.ok_or_else(|| failed(format!("could not retrieve device class {}", variant.class)))?;
        if let Amount::Count(count) = variant.amount {
            return Ok(Wanted { class, count, all: None });
        }
        let mut all = Vec::new();
        for (pool_at, pool) in self.pools.iter().enumerate() {
            let unusable = match pool.state {
                PoolState::Usable => None,
                PoolState::Incomplete => Some("currently being updated"),
                PoolState::Invalid => Some("currently invalid"),
            };
            if let Some(why) = unusable {
                return Err(failed(format!("asks for all devices, but resource pool {}/{} is {why}", pool.driver, pool.name)));
            }
            for (slice_at, slice) in pool.slices.iter().enumerate() {
                for device in 0..slice.devices.len() {
                    if !self.selectable(claim, class, variant, slice, device)? {
                        continue;
                    }
                    if let Some(why) = &slice.devices[device].unsupported {
                        let device = device_id(pool.driver, pool.name, &slice.devices[device].name);
                        return Err(AllocateError::Unsupported { device, why: why.clone() });
                    }
                    all.push(Place { pool: pool_at, slice: slice_at, device });
                }
            }
        }
        Ok(Wanted { class, count: all.len(), all: Some(all) })
    }

    /// Whether class and request mean the device, and the node reaches it.
    fn selectable(
        &self,
        claim: &Claim,
        class: &DeviceClass,
        variant: &Variant,
        slice: &ResourceSlice,
        at: usize,
    ) -> Result<bool, AllocateError> {
        let device = &slice.devices[at];
        let failed = |whose: String, (selector, why): (usize, String)| {
            let device = device_id(&slice.driver, &slice.pool, &device.name);
            AllocateError::Failed(format!("{whose}: selector #{selector} on device {device}: CEL runtime error: {why}"))
        };
        let by_class = slice.selected(at, &class.selectors).map_err(|error| failed(format!("class {}", class.name), error))?;
        let by_request =
            by_class && slice.selected(at, &variant.selectors).map_err(|error| failed(format!("claim {}", claim.key), error))?;
        Ok(by_request && (slice.reach != Reach::PerDevice || device.reach.reaches(self.node)))
    }

    /// Tries to find everything from here on; devices of the request at hand from `start` on.
    fn step(&mut self, at: At, start: Place) -> Result<Found, AllocateError> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return Err(AllocateError::Failed(format!(
                "no devices found in {MOST_STEPS} steps: the claims' constraints leave too many ways"
            )));
        }
        let Some(&claim) = self.allocator.claims.get(at.claim) else { return Ok(Found::All) };
        let Some(request) = claim.requests.get(at.request) else {
            // What is too much for another claim is no reason to end here: this one may yet take less.
            let found = self.step(At { claim: at.claim + 1, ..At::default() }, Place::default())?;
            return Ok(if found == Found::TooMany { Found::Nothing } else { found });
        };
        let variant_at = match at.variant {
            Some(variant) => variant,
            None if request.prioritized => return self.first_available(at, request.variants.len()),
            None => 0,
        };
        let variant = &request.variants[variant_at];
        let Wanted { count, all, .. } = &self.wanted[at.claim][at.request][variant_at];
        let count = *count;
        if all.is_some() && count == 0 {
            return Ok(Found::Nothing);
        }
        if at.device >= count {
            return self.step(At { claim: at.claim, request: at.request + 1, ..At::default() }, Place::default());
        }
        if self.taken[at.claim].len() + count - at.device > MOST_DEVICES {
            return Ok(Found::TooMany);
        }
        let next = At { device: at.device + 1, ..at };
        if let Some(place) = all.as_ref().map(|all| all[at.device]) {
            if !self.take(at, variant_at, variant, place) {
                return Ok(Found::Nothing);
            }
            let found = self.step(next, Place::default())?;
            if found != Found::All {
                self.give_back(at.claim);
            }
            return Ok(found);
        }
        let class = self.wanted[at.claim][at.request][variant_at].class;
        let pools = self.pools;
        for (pool_at, pool) in pools.iter().enumerate().skip(start.pool).filter(|(_, pool)| pool.state == PoolState::Usable) {
            let first_slice = if pool_at == start.pool { start.slice } else { 0 };
            for (slice_at, slice) in pool.slices.iter().enumerate().skip(first_slice) {
                let first = if (pool_at, slice_at) == (start.pool, start.slice) { start.device } else { 0 };
                for device in first..slice.devices.len() {
                    let place = Place { pool: pool_at, slice: slice_at, device };
                    if self.in_use(at.claim, variant, place) || !self.selectable(claim, class, variant, slice, device)? {
                        continue;
                    }
                    if let Some(why) = &slice.devices[device].unsupported {
                        let id = device_id(pool.driver, pool.name, &slice.devices[device].name);
                        self.unsupported.get_or_insert_with(|| (id, why.clone()));
                        continue;
                    }
                    if !self.take(at, variant_at, variant, place) {
                        continue;
                    }
                    // Of one request, devices are tried in rising order: no set of them twice.
                    let found = self.step(next, Place { device: device + 1, ..place })?;
                    if found == Found::All {
                        return Ok(found);
                    }
                    self.give_back(at.claim);
                    if found == Found::TooMany {
                        return Ok(found);
                    }
                }
            }
        }
        Ok(Found::Nothing)
    }

    /// Tries one variant after the other.
    fn first_available(&mut self, at: At, variants: usize) -> Result<Found, AllocateError> {
        let mut all_too_many = true;
        for variant in 0..variants {
            match self.step(At { variant: Some(variant), ..at }, Place::default())? {
                Found::All => {
                    self.chosen[at.claim][at.request] = variant;
                    return Ok(Found::All);
                }
                Found::Nothing => all_too_many = false,
                // The next may want fewer.
                Found::TooMany => {}
            }
        }
        Ok(if all_too_many { Found::TooMany } else { Found::Nothing })
    }

    fn in_use(&self, claim: usize, variant: &Variant, place: Place) -> bool {
        let takers = self.takers.get(&place).map_or(&[][..], |takers| takers);
        if variant.admin_access {
            return takers.contains(&claim);
        }
        !takers.is_empty() || self.pools[place.pool].allocated[place.slice][place.device]
    }

    fn device(&self, place: Place) -> (&'a ResourceSlice, &'a Device) {
        let slice = self.pools[place.pool].slices[place.slice];
        (slice, &slice.devices[place.device])
    }

    /// Takes a device unless it is in use, tainted, or against a constraint.
    fn take(&mut self, at: At, variant_at: usize, variant: &Variant, place: Place) -> bool {
        let (slice, device) = self.device(place);
        if self.in_use(at.claim, variant, place) || slice.tainted(device, self.allocator.inventory.rules(), &variant.tolerations) {
            return false;
        }
        let request = &self.allocator.claims[at.claim].requests[at.request];
        let variant_name = request.prioritized.then(|| request.name_of(variant_at));
        let constraints = &mut self.constraints[at.claim];
        let concerned = |watched: &Watched<'_>| watched.concerns(&request.name, variant_name.as_deref());
        for tried in 0..constraints.len() {
            let watched = &mut constraints[tried];
            if concerned(watched) && !watched.add(device.attribute(&slice.driver, watched.attribute())) {
                constraints[..tried].iter_mut().filter(|watched| concerned(watched)).for_each(Watched::undo);
                return false;
            }
        }
        self.takers.entry(place).or_default().push(at.claim);
        self.taken[at.claim].push(Taken { place, request: at.request, variant: variant_at });
        true
    }

    /// Gives back the device that the claim took last.
    fn give_back(&mut self, claim: usize) {
        let Some(taken) = self.taken[claim].pop() else { return };
        if let Some(takers) = self.takers.get_mut(&taken.place) {
            takers.pop();
        }
        let request = &self.allocator.claims[claim].requests[taken.request];
        let variant = request.prioritized.then(|| request.name_of(taken.variant));
        let concerned = self.constraints[claim].iter_mut().filter(|watched| watched.concerns(&request.name, variant.as_deref()));
        concerned.for_each(Watched::undo);
    }

    fn result(&self, at: usize) -> Result<Allocation, AllocateError> {
        let claim = self.allocator.claims[at];
        let device = |taken: &Taken| {
            let (slice, device) = self.device(taken.place);
            let request = &claim.requests[taken.request];
            let variant = &request.variants[taken.variant];
            AllocatedDevice {
                request: request.name_of(taken.variant),
                driver: slice.driver.clone(),
                pool: slice.pool.clone(),
                device: device.name.clone(),
                admin_access: variant.admin_access,
                tolerations: variant.tolerations.clone(),
            }
        };
        let devices = self.taken[at].iter().map(device).collect();
        Ok(Allocation { devices, configs: self.configs(at), nodes: self.nodes(at)? })
    }

    /// What drivers are told: by each class once, then by the claim. What concerns all requests names none.
    fn configs(&self, at: usize) -> Vec<AllocatedConfig> {
        let (claim, chosen) = (self.allocator.claims[at], &self.chosen[at]);
        let mut classes: Vec<(&DeviceClass, Vec<String>)> = Vec::new();
        for (request_at, request) in claim.requests.iter().enumerate() {
            let class = self.wanted[at][request_at][chosen[request_at]].class;
            let name = request.name_of(chosen[request_at]);
            match classes.iter_mut().find(|(known, _)| known.name == class.name) {
                Some((_, requests)) => requests.push(name),
                None => classes.push((class, vec![name])),
            }
        }
        let named = |requests: &[String], at: usize| {
            let request = &claim.requests[at];
            requests.contains(&request.name) || requests.contains(&request.name_of(chosen[at]))
        };
        let of_classes = classes.into_iter().flat_map(|(class, requests)| {
            class.configs.iter().map(move |opaque| AllocatedConfig { of_class: true, requests: requests.clone(), opaque: opaque.clone() })
        });
        let concerns_any = |requests: &[String]| requests.is_empty() || (0..claim.requests.len()).any(|request| named(requests, request));
        let of_claim = claim.configs.iter().filter(|config| concerns_any(&config.requests)).map(|config| AllocatedConfig {
            of_class: false,
            requests: config.requests.clone(),
            opaque: config.opaque.clone(),
        });
        let for_all = |config: AllocatedConfig| match (0..claim.requests.len()).all(|request| named(&config.requests, request)) {
            true => AllocatedConfig { requests: Vec::new(), ..config },
            false => config,
        };
        of_classes.chain(of_claim).map(for_all).collect()
    }

    /// Nodes on which all of a claim's devices can be used.
    fn nodes(&self, at: usize) -> Result<Option<Vec<NodeSelectorTerm>>, AllocateError> {
        let mut common = NodeSelectorTerm::default();
        for (slice, device) in self.taken[at].iter().map(|taken| self.device(taken.place)) {
            let reach = slice.reach_of(device);
            if device.binds_to_node || matches!(reach, Reach::Node(_)) {
                let this = Requirement { key: "metadata.name".into(), operator: Operator::In, values: vec![self.node.name.clone()] };
                return Ok(Some(vec![NodeSelectorTerm { match_expressions: Vec::new(), match_fields: vec![this] }]));
            }
            let Reach::Selected(terms) = reach else { continue };
            if terms.len() > 1 {
                let why = format!("slice {}: a node selector of {} terms can't be part of an allocation", slice.name, terms.len());
                return Err(AllocateError::Failed(why));
            }
            for term in terms {
                let add = |from: &[Requirement], to: &mut Vec<Requirement>| {
                    from.iter().for_each(|requirement| {
                        if !to.contains(requirement) {
                            to.push(requirement.clone());
                        }
                    });
                };
                add(&term.match_fields, &mut common.match_fields);
                add(&term.match_expressions, &mut common.match_expressions);
            }
        }
        Ok((common != NodeSelectorTerm::default()).then(|| vec![common]))
    }
}

#[cfg(test)]
mod tests;
