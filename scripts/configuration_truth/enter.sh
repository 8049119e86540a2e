# First process of the namespaces. Ours, and trusted: it builds an empty root, steps into it, lets
# go of every capability and only then hands over to inside.sh.
# Arguments: base (an empty folder), rootfs, checkout, seconds; then what inside.sh is to run.
set -eu
base=$1 rootfs=$2 checkout=$3 seconds=$4
shift 4
mount -t tmpfs -o size=96m,mode=755 tmpfs "$base"
mkdir "$base/root" "$base/upper" "$base/work"
mount --bind "$rootfs" "$base/root"
mount -o remount,bind,ro,nosuid,nodev "$base/root"
mount -t overlay -o "lowerdir=$checkout,upperdir=$base/upper,workdir=$base/work,userxattr" \
  overlay "$base/root/repo"
for name in tmp root records; do mount -t tmpfs -o size=32m tmpfs "$base/root/$name"; done
for name in null zero urandom; do
  mount --bind "/dev/$name" "$base/root/dev/$name"
done
mount -t proc proc "$base/root/proc"
mount -o remount,bind,ro "$base/root/proc"
cd "$base/root"
pivot_root . old
/usr/bin/umount -l /old
exec /usr/bin/env -i PATH=/stubs:/usr/bin:/bin HOME=/root USER=user TERM=dumb LC_ALL=C \
  /usr/bin/prlimit --as=2147483648 --cpu=20 --fsize=33554432 --nproc=512 --core=0 \
  /usr/bin/setpriv --no-new-privs --inh-caps=-all --bounding-set=-all --ambient-caps=-all \
  /bin/bash -p /ours/inside.sh "$seconds" "$@"
