# An image with all commands of eulernet, which works in the folder that is mounted at /work:
#   docker build -t eulernet .
#   docker run --rm -v "$PWD:/work" eulernet train dataset=synthetic
#   docker run --rm -p 8000:8000 -v "$PWD:/work" eulernet serve run=outputs/... host=0.0.0.0
# With CUDA (the host needs NVIDIA's container toolkit):
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 -t eulernet:cuda .
#   docker run --rm --gpus all -v "$PWD:/work" eulernet:cuda train dataset=synthetic
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY . /tmp/eulernet
RUN pip install --no-cache-dir torch --index-url "$TORCH_INDEX" \
 && grep -v "^torch==" /tmp/eulernet/constraints.txt > /tmp/constraints.txt \
 && pip install --no-cache-dir -c /tmp/constraints.txt "/tmp/eulernet[export,serve,tensorboard,tune]" \
 && rm -rf /tmp/eulernet /tmp/constraints.txt

WORKDIR /work
EXPOSE 8000
ENTRYPOINT ["eulernet"]
CMD ["--help"]
