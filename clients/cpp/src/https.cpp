#include "https.hpp"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string>

namespace lovage {
namespace {

constexpr long kConnectSeconds = 10;

struct CurlEnd {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct ListEnd {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Handle = std::unique_ptr<CURL, CurlEnd>;
using Headers = std::unique_ptr<curl_slist, ListEnd>;

// curl's own state of the process: begun once, before the first handle.
Handle make_handle() {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  Handle handle(started == CURLE_OK ? curl_easy_init() : nullptr);
  if (!handle) throw Error("internal", "libcurl does not start");
  return handle;
}

std::size_t append(char* data, std::size_t size, std::size_t count, void* target) {
  static_cast<std::string*>(target)->append(data, size * count);
  return size * count;
}

void set_blob(CURL* handle, CURLoption option, const std::string& text) {
  if (text.empty()) return;
  curl_blob blob{const_cast<char*>(text.data()), text.size(), CURL_BLOB_COPY};
  curl_easy_setopt(handle, option, &blob);
}

void set_tls(CURL* handle, const Tls& tls) {
  set_blob(handle, CURLOPT_CAINFO_BLOB, tls.ca);
  set_blob(handle, CURLOPT_SSLCERT_BLOB, tls.certificate);
  set_blob(handle, CURLOPT_SSLKEY_BLOB, tls.key);
}

void set_times(CURL* handle, double seconds) {
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(seconds * kMilliseconds));
}

std::string find_certificate(const curl_certinfo& chain) {
  if (chain.num_of_certs < 1) return "";
  for (const curl_slist* line = chain.certinfo[0]; line != nullptr; line = line->next) {
    const std::string text(line->data);
    const std::string name = "Cert:";
    if (text.compare(0, name.size(), name) == 0) return text.substr(name.size());
  }
  return "";
}

}  // namespace

HttpAnswer post_json(const std::string& url, const std::string& token, const std::string& body, const Tls& tls,
                     double seconds) {
  const Handle handle = make_handle();
  HttpAnswer answer;
  Headers headers(curl_slist_append(nullptr, "Content-Type: application/json"));
  if (!token.empty()) curl_slist_append(headers.get(), ("Authorization: Bearer " + token).c_str());
  curl_easy_setopt(handle.get(), CURLOPT_URL, url.c_str());
#if LIBCURL_VERSION_NUM >= 0x075500
  curl_easy_setopt(handle.get(), CURLOPT_PROTOCOLS_STR, "http,https");
#else
  curl_easy_setopt(handle.get(), CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
  curl_easy_setopt(handle.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(handle.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
  curl_easy_setopt(handle.get(), CURLOPT_POSTFIELDS, body.c_str());
  curl_easy_setopt(handle.get(), CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(handle.get(), CURLOPT_WRITEDATA, &answer.body);
  set_times(handle.get(), seconds);
  set_tls(handle.get(), tls);
  const CURLcode code = curl_easy_perform(handle.get());
  if (code != CURLE_OK) throw Error("unreachable", url + ": " + curl_easy_strerror(code));
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &answer.status);
  curl_off_t retry = 0;
  if (curl_easy_getinfo(handle.get(), CURLINFO_RETRY_AFTER, &retry) == CURLE_OK && retry > 0) {
    answer.retry_after = static_cast<double>(retry);
  }
  return answer;
}

std::string shown_certificate(const std::string& address, const Tls& tls, double seconds) {
  const Handle handle = make_handle();
  curl_easy_setopt(handle.get(), CURLOPT_URL, ("https://" + address + "/").c_str());
  curl_easy_setopt(handle.get(), CURLOPT_CONNECT_ONLY, 1L);
  curl_easy_setopt(handle.get(), CURLOPT_CERTINFO, 1L);
  // Whether it is to be trusted, its fingerprint decides.
  curl_easy_setopt(handle.get(), CURLOPT_SSL_VERIFYPEER, 0L);
  curl_easy_setopt(handle.get(), CURLOPT_SSL_VERIFYHOST, 0L);
  set_times(handle.get(), seconds);
  set_tls(handle.get(), Tls{"", tls.certificate, tls.key});
  const CURLcode code = curl_easy_perform(handle.get());
  if (code != CURLE_OK) throw Error("unavailable", address + ": " + curl_easy_strerror(code));
  curl_certinfo* chain = nullptr;
  curl_easy_getinfo(handle.get(), CURLINFO_CERTINFO, &chain);
  const std::string pem = chain ? find_certificate(*chain) : "";
  if (pem.empty()) throw Error("unavailable", address + " shows no certificate");
  return pem;
}

std::string certificate_sha256(const std::string& pem) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> source(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(
      PEM_read_bio_X509(source.get(), nullptr, nullptr, nullptr), X509_free);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (!certificate || X509_digest(certificate.get(), EVP_sha256(), digest.data(), &size) != 1) {
    throw Error("wrong_certificate", "what the worker shows is no certificate");
  }
  const char* digits = "0123456789abcdef";
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    text += digits[digest[i] >> 4];
    text += digits[digest[i] & 15];
  }
  return text;
}

}  // namespace lovage
