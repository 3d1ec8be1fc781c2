# A server's root filesystem, unpacked from Debian's packages and not configured, as an image of the official ones' contract.
ARG ROOTFS
FROM $ROOTFS
RUN set -e; \
    printf 'root:x:0:0:root:/root:/bin/bash\nmysql:x:999:999::/var/lib/mysql:/bin/false\n' >/etc/passwd; \
    printf 'root:x:0:\nmysql:x:999:\n' >/etc/group; \
    rm -rf /etc/mysql/*.cnf /etc/mysql/*.conf.d /etc/mysql/conf.d/*; \
    printf '[mysqld]\ndatadir = /var/lib/mysql\nsocket = /run/mysqld/mysqld.sock\nsecure_file_priv =\n[client]\nsocket = /run/mysqld/mysqld.sock\n!includedir /etc/mysql/conf.d/\n' \
        >/etc/mysql/my.cnf; \
    ln -sf mawk /usr/bin/awk; \
    ln -sfn ../run /var/run; \
    mkdir -p /var/lib/mysql /run/mysqld /docker-entrypoint-initdb.d; \
    chmod 1777 /tmp /run/mysqld; \
    chown mysql: /var/lib/mysql
COPY entrypoint.sh /usr/local/bin/docker-entrypoint.sh
VOLUME /var/lib/mysql
ENTRYPOINT ["docker-entrypoint.sh"]
EXPOSE 3306
