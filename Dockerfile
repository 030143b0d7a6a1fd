# The model service: trains at build time, serves from a small image without a compiler, pip or (for trees) scikit-learn.
# Works with the classic builder and BuildKit, on the official Python image and on any Debian with python3 and python3-venv.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/training && python3 -m venv --without-pip /opt/serving
COPY model_service/serving.lock model_service/training.lock /locks/
RUN /opt/training/bin/pip --python /opt/serving/bin/python install --require-hashes -r /locks/serving.lock
RUN /opt/training/bin/pip install --no-compile --require-hashes -r /locks/training.lock
# What the task needs besides: a requirements file of the repository. It changes no version of the lock, for which the service is
# tested, unless CONSTRAINTS names another file; pip takes constraints without their hashes only.
ARG REQUIREMENTS=model_service/training.lock
ARG CONSTRAINTS=model_service/training.lock
COPY ${REQUIREMENTS} /locks/requirements.txt
COPY ${CONSTRAINTS} /locks/constraints.lock
RUN sed -e '/^ *--hash=/d' -e 's/ *\\$//' /locks/constraints.lock >/locks/constraints.txt \
    && { cmp -s /locks/requirements.txt /locks/training.lock \
        || /opt/training/bin/pip install --no-compile -c /locks/constraints.txt -r /locks/requirements.txt; }
# Everything above stays cached until a lock changes. A change of the code trains anew from here.
WORKDIR /srv
COPY model_service model_service
# The folder of the task, with its data, if it is another one; or of a model that MLflow logged, which has MLmodel in it.
ARG CODE=model_service
COPY ${CODE} ${CODE}
ARG TASK=model_service.iris
# auto, trees, skops or pickle
ARG FORMAT=auto
# Types that a logged model may hold besides the usual ones, and the SHA-256 of its pickle, if you trust it.
ARG TRUST=
ARG ALLOW_PICKLE=
RUN if [ -e "$CODE/MLmodel" ]; then \
        mkdir /logged && mv "$CODE" /logged/ && MODEL_TRUST="$TRUST" MODEL_ALLOW_PICKLE="$ALLOW_PICKLE" \
            /opt/training/bin/python -m model_service.mlflow "/logged/$(basename "$CODE")" --format "$FORMAT" --out model; \
    else /opt/training/bin/python -m model_service.train --task "$TASK" --format "$FORMAT" --out model; fi \
    && if [ ! -e model/model.json ]; then \
        /opt/training/bin/pip --python /opt/serving/bin/python install --require-hashes -r /locks/training.lock \
        && { cmp -s /locks/requirements.txt /locks/training.lock \
            || /opt/training/bin/pip --python /opt/serving/bin/python install -c /locks/constraints.txt \
                -r /locks/requirements.txt; }; \
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
