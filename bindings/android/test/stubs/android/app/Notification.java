package android.app;

import android.content.Context;

public class Notification {
    public static class Builder {
        public Builder(Context context, String channel) {}

        public Builder setContentTitle(CharSequence title) {
            return this;
        }

        public Builder setSmallIcon(int icon) {
            return this;
        }

        public Builder setOngoing(boolean ongoing) {
            return this;
        }

        public Notification build() {
            return new Notification();
        }
    }
}
