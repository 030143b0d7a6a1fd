// Relative, so that it also works behind a proxy that serves this page under a path.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true });
