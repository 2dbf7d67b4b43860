package sandbox.engine;

import javax.servlet.Filter;
import org.camunda.bpm.engine.rest.security.auth.ProcessEngineAuthenticationFilter;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.web.servlet.FilterRegistrationBean;
import org.springframework.context.annotation.Bean;

/** A Camunda engine with its REST API, for the sandbox. */
@SpringBootApplication
public class EngineApplication {

  private static final String HTTP_BASIC =
      "org.camunda.bpm.engine.rest.security.auth.impl.HttpBasicAuthenticationProvider";

  public static void main(String[] arguments) {
    SpringApplication.run(EngineApplication.class, arguments);
  }

  /** Asks every REST call for a login of the engine; on with {@code --engine.auth=true}. */
  @Bean
  @ConditionalOnProperty(name = "engine.auth", havingValue = "true")
  FilterRegistrationBean<Filter> basicAuthentication() {
    var registration = new FilterRegistrationBean<Filter>(new ProcessEngineAuthenticationFilter());
    registration.setName("camunda-auth");
    registration.setOrder(1);
    // The long poll of fetchAndLock is answered asynchronously: without this it fails.
    registration.setAsyncSupported(true);
    registration.addUrlPatterns("/engine-rest/*");
    registration.addInitParameter("authentication-provider", HTTP_BASIC);
    return registration;
  }
}
