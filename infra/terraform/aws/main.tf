# What a cluster on AWS needs beside the cluster: a bucket, a registry, a role and a database. Not the cluster, nor the
# network: those a team has its own module for.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

variable "name" {
  description = "Name of the bucket, and prefix of all else."
  type        = string
}

variable "trusted" {
  description = "JSON of the trust policy of the role: the OIDC provider of an EKS cluster, or EC2."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of the database, in two zones at least."
  type        = list(string)
}

variable "security_group_ids" {
  description = "Groups of the database: only the cluster's nodes may reach port 5432."
  type        = list(string)
}

# DVC's data, checkpoints, MLflow's artifacts, Airflow's logs and backups, each below a prefix of its own.
resource "aws_s3_bucket" "headrace" {
  bucket = var.name
}

resource "aws_s3_bucket_public_access_block" "headrace" {
  bucket                  = aws_s3_bucket.headrace.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# What is overwritten or removed by mistake can be had back for 30 days.
resource "aws_s3_bucket_versioning" "headrace" {
  bucket = aws_s3_bucket.headrace.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "headrace" {
  bucket = aws_s3_bucket.headrace.id
  rule {
    id     = "replaced"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = 30
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
  rule {
    id     = "logs"
    status = "Enabled"
    filter {
      prefix = "airflow-logs/"
    }
    expiration {
      days = 90
    }
  }
}

resource "aws_ecr_repository" "image" {
  for_each             = toset(["headrace", "headrace-airflow", "headrace-gpu"])
  name                 = each.key
  image_tag_mutability = "IMMUTABLE"
}

# For service accounts (infra/kubernetes/overlays/eks) or instances (infra/ray/aws.yaml): this bucket, nothing else.
resource "aws_iam_role" "headrace" {
  name               = var.name
  assume_role_policy = var.trusted
}

resource "aws_iam_role_policy" "bucket" {
  name = "bucket"
  role = aws_iam_role.headrace.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = ["s3:ListBucket"], Resource = aws_s3_bucket.headrace.arn },
      {
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        Resource = "${aws_s3_bucket.headrace.arn}/*"
      },
    ]
  })
}

resource "aws_iam_instance_profile" "headrace" {
  name = var.name
  role = aws_iam_role.headrace.name
}

resource "aws_db_subnet_group" "headrace" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

# Databases of Airflow and MLflow; AWS makes the password and keeps it in Secrets Manager: it is in no state file.
resource "aws_db_instance" "headrace" {
  identifier                  = var.name
  engine                      = "postgres"
  engine_version              = "17"
  instance_class              = "db.t4g.medium"
  allocated_storage           = 50
  storage_encrypted           = true
  username                    = "headrace"
  manage_master_user_password = true
  db_subnet_group_name        = aws_db_subnet_group.headrace.name
  vpc_security_group_ids      = var.security_group_ids
  backup_retention_period     = 14
  deletion_protection         = true
  skip_final_snapshot         = false
  final_snapshot_identifier   = "${var.name}-last"
}

output "role_arn" { value = aws_iam_role.headrace.arn }
output "database_address" { value = aws_db_instance.headrace.address }
output "database_secret_arn" { value = aws_db_instance.headrace.master_user_secret[0].secret_arn }
