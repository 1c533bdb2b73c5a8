#!/bin/bash
# User data of an EC2 instance (Debian, Ubuntu): installs gdispy and starts a node.
# PACKAGE is what pip installs; SECRET is the name of a SecureString in the Parameter Store, which the instance's role may read.
set -eu
PACKAGE=gdispy
SECRET=/gdispy/secret

apt-get update -q
apt-get install -q -y python3-venv curl awscli
python3 -m venv /opt/gdispy
/opt/gdispy/bin/pip install -q "$PACKAGE"
useradd --system --create-home gdispy
install -d -m 0750 -g gdispy /etc/gdispy

metadata() {
  curl -sf -H "X-aws-ec2-metadata-token: $token" "http://169.254.169.254/latest/meta-data/$1" || true
}
token=$(curl -sf -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 300" http://169.254.169.254/latest/api/token)
export AWS_DEFAULT_REGION=$(metadata placement/region)
install -m 0600 -o gdispy /dev/null /etc/gdispy/secret
aws ssm get-parameter --name "$SECRET" --with-decryption --query Parameter.Value --output text > /etc/gdispy/secret
# The public address, if there is one: it is not an address of the instance.
echo "GDISPY_EXT_IP_ADDR=$(metadata public-ipv4)" > /etc/gdispy/node.env

cat > /etc/systemd/system/gdispy-node.service <<'UNIT'
[Unit]
Description=gdispy node
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
User=gdispy
ExecStart=/opt/gdispy/bin/gdispy-node --daemon --secret-file /etc/gdispy/secret --grace 60
EnvironmentFile=-/etc/gdispy/node.env
Restart=always
RestartSec=5
WatchdogSec=60
KillMode=mixed
Delegate=yes
TimeoutStopSec=90
OOMPolicy=continue
NoNewPrivileges=yes
LimitCORE=0

[Install]
WantedBy=multi-user.target
UNIT
systemctl enable --now gdispy-node
