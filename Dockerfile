# The verify side, on the CPU: PaddleSeg beside PyTorch, in the versions that everything here is tested with.
#   docker build -t ppls .
#   docker run --rm -v "$PWD:/work" ppls verify model.pdparams model.safetensors --report report.html
FROM python:3.12-slim

# what PaddleSeg's OpenCV loads: scripts/check_system.py
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/ppls
COPY constraints.txt ./
# PyPI's torch for Linux brings several GB of CUDA; this index has the builds for the CPU
RUN pip install --no-cache-dir --constraint constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu torch
RUN pip install --no-cache-dir --constraint constraints.txt paddlepaddle paddleseg 'numpy<2' setuptools

COPY pyproject.toml README.md LICENSE ./
COPY docs/mapping-language.md docs/mapping-language.md
COPY ppls ppls
RUN pip install --no-cache-dir --constraint constraints.txt '.[verify,export]'

# whoever --user names has no home folder here
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["ppls"]
CMD ["--help"]
