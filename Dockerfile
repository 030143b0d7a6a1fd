# The model service: trains at build time, serves from a small image without a compiler, pip or (for trees) scikit-learn.
# Works with the classic builder and BuildKit, on the official Python image and on any Debian with python3 and python3-venv.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/training && python3 -m venv --without-pip /opt/serving
COPY model_service/serving.lock model_service/training.lock /locks/
RUN /opt/training/bin/pip --python /opt/serving/bin/python install --require-hashes -r /locks/serving.lock
RUN /opt/training/bin/pip install --require-hashes -r /locks/training.lock
# What the task needs besides: a requirements file of the repository.
ARG REQUIREMENTS=model_service/training.lock
COPY ${REQUIREMENTS} /locks/requirements.txt
RUN cmp -s /locks/requirements.txt /locks/training.lock || /opt/training/bin/pip install -r /locks/requirements.txt
# Everything above stays cached until a lock changes. A change of the code trains anew from here.
WORKDIR /srv
COPY model_service model_service
# The folder of the task, with its data, if it is another one.
ARG CODE=model_service
COPY ${CODE} ${CODE}
ARG TASK=model_service.iris
# auto, trees, skops or pickle
ARG FORMAT=auto
RUN /opt/training/bin/python -m model_service.train --task "$TASK" --format "$FORMAT" --out model \
    && if [ ! -e model/model.json ]; then \
        /opt/training/bin/pip --python /opt/serving/bin/python install --require-hashes -r /locks/training.lock \
        && { cmp -s /locks/requirements.txt /locks/training.lock \
            || /opt/training/bin/pip --python /opt/serving/bin/python install -r /locks/requirements.txt; }; \
    fi \
    && rm -rf model_service/__pycache__ && /opt/serving/bin/python -m compileall -q model_service

FROM ${PYTHON}
COPY --from=build /opt/serving /opt/serving
COPY --from=build /srv /srv
WORKDIR /srv/model
ENV PATH=/opt/serving/bin:$PATH PYTHONPATH=/srv PYTHONUNBUFFERED=1 MODEL_DIR=/srv/model
# Types that the model's file may hold besides the usual ones, such as the task's own transformers; training prints them.
ARG TRUST=
ENV MODEL_TRUST=$TRUST
USER 10001:10001
EXPOSE 5000
CMD ["python", "-m", "model_service"]
# Last, so that a commit which does not change the model reuses every layer above.
ARG COMMIT=
ENV MODEL_COMMIT=$COMMIT
LABEL org.opencontainers.image.revision=$COMMIT
