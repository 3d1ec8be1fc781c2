//! The harness itself: clusters come up, replicate, and leave nothing behind.
#![cfg(feature = "shell")]

mod support;

use support::{Cluster, Flavor, Options, flavors};

fn replicates(flavor: Flavor) {
    if !flavors().contains(&flavor) {
        return;
    }
    let cluster = Cluster::start(flavor, Options::default());
    let version = cluster.primary().value("SELECT VERSION()");
    println!("{flavor:?} {version}: primary and two replicas up in {} ms", cluster.started_in.as_millis());
    cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY)");
    cluster.primary().sql("INSERT INTO app.t VALUES (1), (2)");
    cluster.wait_for_replicas();
    for replica in cluster.replicas() {
        assert_eq!(replica.value("SELECT COUNT(*) FROM app.t"), "2");
    }
}

#[test]
fn a_mysql_cluster_replicates() {
    replicates(Flavor::MySql);
}

#[test]
fn a_mariadb_cluster_replicates() {
    replicates(Flavor::MariaDb);
}
