// Starts Swagger UI on the element that names the contract.
const element = document.getElementById("swagger-ui");
SwaggerUIBundle({
  url: element.dataset.contract,
  domNode: element,
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  validatorUrl: null,
});
